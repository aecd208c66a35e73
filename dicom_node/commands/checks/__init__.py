"""What ``check`` looks at: one file a subject, each yields lines."""
