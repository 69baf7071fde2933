"""Many tasks, such as bags x configurations: each in a process of its own, here or over Ray, with one manifest."""
