"""``python -m models.training.gates``: see ``real_files``."""

from models.training.gates.real_files import main

main()
