"""Replay: a recorded drive in, pictures or a bag out, without a ROS runtime."""
