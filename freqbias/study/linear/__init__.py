"""Linear networks from initialisation to past separation, against theory."""
