"""The network and its files: what it is made of, its weights and licences, what it costs."""
