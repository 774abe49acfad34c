"""What is in a data set, before training: counts, files, duplicates, leaks, by the code that training uses."""
