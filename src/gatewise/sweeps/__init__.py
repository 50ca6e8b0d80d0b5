"""Sweeps: many trainings of one question, planned, run side by side, resumed, ranked and drawn."""
