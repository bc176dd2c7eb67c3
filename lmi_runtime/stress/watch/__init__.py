"""See what threads do to state they share: which instructions matter, and what they touch."""
