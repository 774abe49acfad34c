"""Search for hyper-parameters by Optuna: the space, the study, its trials, and what came out.

Optuna is an extra: only the modules below import it, and only a search imports them.
"""
