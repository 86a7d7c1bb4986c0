"""What is labelled: prompts with scored candidate responses, and how subsets of them are drawn."""
