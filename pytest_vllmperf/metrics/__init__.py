"""The one table of metrics (`table`), the record types (`records`), and how one becomes the other (`reduce`)."""
