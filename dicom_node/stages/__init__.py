"""What the journey does between the rooms: start a study, run it. ``journey.py`` says in which order."""
