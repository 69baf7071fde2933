"""The example stacks' logic, without topics: small on purpose, so that what they do can be seen at a glance."""
