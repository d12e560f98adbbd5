"""The web page: what the command line does, for people with a browser. Its rules are the desk's."""
