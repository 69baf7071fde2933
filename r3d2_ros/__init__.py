"""R3D2 camera simulator: ego pose and actors in, camera images of a Gaussian scene out."""

# A ROS build puts the generated `r3d2_ros.msg` beside an installed copy of this file; extend_path
# lets a source checkout and that installed copy be one package.
from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
