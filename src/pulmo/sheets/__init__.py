"""From the tables of predictions to numbers with their intervals; nothing is drawn, and no network is needed."""
