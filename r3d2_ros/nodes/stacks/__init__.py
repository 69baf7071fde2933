"""Example driving stacks as ROS nodes: they know the simulator by its topics only, like anyone's stack."""
