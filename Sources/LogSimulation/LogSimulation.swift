// The simulated disk and clock, the crash explorer and the oracle: what proves the engine.
