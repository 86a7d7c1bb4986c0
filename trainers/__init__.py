"""How a policy is trained on one split."""
