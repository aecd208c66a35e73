"""The node's version: part of the run key, so a new version that runs a study again makes new result UIDs."""

VERSION = "0.1.0"
