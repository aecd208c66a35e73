"""The nouns. Standard library and numpy only: no pydicom, no SQL, no sockets, no paths are opened here."""
