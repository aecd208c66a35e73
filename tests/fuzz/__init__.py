"""Reception and header reading against bytes that nobody should send: ``python -m tests.fuzz --help``."""
