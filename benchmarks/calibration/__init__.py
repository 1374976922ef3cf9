"""How well the tracker's rules tell healthy trainings from broken ones."""
