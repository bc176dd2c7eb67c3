"""Race checkers, held against programs of which it is known whether they race."""
