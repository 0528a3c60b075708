"""Training an energy: configuration, state, step, loop."""
