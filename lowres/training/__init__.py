"""What training needs whatever the framework: data cursors, schedules, checkpoints, the classifier protocol."""
