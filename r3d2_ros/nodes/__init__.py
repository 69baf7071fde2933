"""The ROS face: the only place that imports rclpy and message packages."""
