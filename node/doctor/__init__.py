"""What a doctor of either node looks at, and how it says what it found."""
