"""What `smtpnic top` shows: gathered at the edge, judged and laid out without any."""
