"""What is measured: prompt diversity and its rivals, and the reward of responses."""
