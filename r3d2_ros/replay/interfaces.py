"""Field lists of message types that bags hold and ROS itself does not bring, for bags without definitions of their own.

Only names and types of fields are listed, in the order in which they are serialised; they are the interface of

- autoware_perception_msgs 1.x (autowarefoundation/autoware_msgs), Apache-2.0
- vision_msgs 4.x (ros-perception/vision_msgs), Apache-2.0
- derived_object_msgs 4.x (astuff/astuff_sensor_msgs), MIT

whose licences ask for nothing more where no text of theirs is copied.
"""

from __future__ import annotations

from typing import Any

from rosbags.typesys import get_types_from_msg

INTERFACES = {
    "autoware_perception_msgs/msg/TrackedObjects": """
        std_msgs/Header header
        autoware_perception_msgs/TrackedObject[] objects
    """,
    "autoware_perception_msgs/msg/TrackedObject": """
        unique_identifier_msgs/UUID object_id
        float32 existence_probability
        autoware_perception_msgs/ObjectClassification[] classification
        autoware_perception_msgs/TrackedObjectKinematics kinematics
        autoware_perception_msgs/Shape shape
    """,
    "autoware_perception_msgs/msg/TrackedObjectKinematics": """
        geometry_msgs/PoseWithCovariance pose_with_covariance
        geometry_msgs/TwistWithCovariance twist_with_covariance
        geometry_msgs/AccelWithCovariance acceleration_with_covariance
        uint8 orientation_availability
        bool is_stationary
    """,
    "autoware_perception_msgs/msg/PredictedObjects": """
        std_msgs/Header header
        autoware_perception_msgs/PredictedObject[] objects
    """,
    "autoware_perception_msgs/msg/PredictedObject": """
        unique_identifier_msgs/UUID object_id
        float32 existence_probability
        autoware_perception_msgs/ObjectClassification[] classification
        autoware_perception_msgs/PredictedObjectKinematics kinematics
        autoware_perception_msgs/Shape shape
    """,
    "autoware_perception_msgs/msg/PredictedObjectKinematics": """
        geometry_msgs/PoseWithCovariance initial_pose_with_covariance
        geometry_msgs/TwistWithCovariance initial_twist_with_covariance
        geometry_msgs/AccelWithCovariance initial_acceleration_with_covariance
        autoware_perception_msgs/PredictedPath[] predicted_paths
    """,
    "autoware_perception_msgs/msg/PredictedPath": """
        geometry_msgs/Pose[] path
        builtin_interfaces/Duration time_step
        float32 confidence
    """,
    "autoware_perception_msgs/msg/ObjectClassification": """
        uint8 label
        float32 probability
    """,
    "autoware_perception_msgs/msg/Shape": """
        uint8 type
        geometry_msgs/Polygon footprint
        geometry_msgs/Vector3 dimensions
    """,
    "vision_msgs/msg/Detection3DArray": """
        std_msgs/Header header
        vision_msgs/Detection3D[] detections
    """,
    "vision_msgs/msg/Detection3D": """
        std_msgs/Header header
        vision_msgs/ObjectHypothesisWithPose[] results
        vision_msgs/BoundingBox3D bbox
        string id
    """,
    "vision_msgs/msg/ObjectHypothesisWithPose": """
        vision_msgs/ObjectHypothesis hypothesis
        geometry_msgs/PoseWithCovariance pose
    """,
    "vision_msgs/msg/ObjectHypothesis": """
        string class_id
        float64 score
    """,
    "vision_msgs/msg/BoundingBox3D": """
        geometry_msgs/Pose center
        geometry_msgs/Vector3 size
    """,
    "derived_object_msgs/msg/ObjectArray": """
        std_msgs/Header header
        derived_object_msgs/Object[] objects
    """,
    "derived_object_msgs/msg/Object": """
        std_msgs/Header header
        uint32 id
        uint8 detection_level
        bool object_classified
        geometry_msgs/Pose pose
        geometry_msgs/Twist twist
        geometry_msgs/Accel accel
        geometry_msgs/Polygon polygon
        shape_msgs/SolidPrimitive shape
        uint8 classification
        uint8 classification_certainty
        uint32 classification_age
    """,
    # The project's own, as in msg/; a test compares them.
    "r3d2_ros/msg/Actor": """
        string id
        string asset
        geometry_msgs/Pose pose
        geometry_msgs/Twist twist
        geometry_msgs/Vector3 size
    """,
    "r3d2_ros/msg/ActorArray": """
        std_msgs/Header header
        r3d2_ros/Actor[] actors
    """,
    "r3d2_ros/msg/CameraStatus": """
        string camera
        bool published
        bool raw
        string reason
        string content_hash
        float32 render_ms
        float32 harmonize_ms
        float32 encode_ms
        float32 publish_ms
    """,
    "r3d2_ros/msg/FrameSet": """
        std_msgs/Header header
        uint64 index
        r3d2_ros/CameraStatus[] cameras
        string[] instance_ids
        float64 off_path_m
        float64 off_path_deg
        float64 out_of_bounds_m
    """,
    "r3d2_ros/msg/VehicleCommand": """
        std_msgs/Header header
        float64 acceleration
        float64 steering_angle
    """,
}


def interface_types() -> dict[str, Any]:
    """The field lists as `rosbags` wants them for `Typestore.register`."""
    types: dict[str, Any] = {}
    for name, text in INTERFACES.items():
        lines = "\n".join(line.strip() for line in text.strip().splitlines())
        types |= get_types_from_msg(f"{lines}\n", name)
    return types
