"""The command line: dub, track, inspect, preprocess, train, evaluate."""
