"""pytest's side: options, markers, the hooks of an armed run, the fixture, and what the terminal shows meanwhile."""
