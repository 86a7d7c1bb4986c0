"""The demo pool: prompts from a seeded grammar of our own, model-made responses, a verifier's scores."""
