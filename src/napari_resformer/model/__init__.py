"""A model is a network and its card, kept in one file; the library knows where models lie."""
