"""Studies that are over, as CSV with their source beside them: what `apportion plan` answers from."""
