"""How a study is run: trials, fit, recommendation."""
