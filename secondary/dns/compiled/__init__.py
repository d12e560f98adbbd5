"""The compiled table, answers and listener of DNS; absent where no compiler was at hand."""
