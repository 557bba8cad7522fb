"""The colcon build of the ROS package; `pip install` uses the pyproject.toml at the top of the repository."""

from glob import glob

from setuptools import find_packages, setup

NODES = (
    *("arm", "camera", "hand", "policy", "controller", "supervisor", "trial", "monitor", "recorder", "console"),
    *("teleop", "teleop_monitor", "replay", "soak", "drift_check", "calibration_tour", "faults"),
)

setup(
    name="vipa",
    version="0.1.0",
    packages=find_packages(include=["vipa", "vipa.*"]),
    package_data={"": ["*.yaml", "*.xml", "page/*"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/vipa"]),
        ("share/vipa", ["package.xml"]),
        ("share/vipa/launch", sorted(glob("launch/*.launch.py"))),
        ("share/vipa/config", ["vipa/data/fastdds_shm.xml", "vipa/data/sros2_policy.xml"]),
    ],
    entry_points={"console_scripts": [f"{node} = vipa.nodes.{node}:main" for node in NODES]},
    zip_safe=False,
)
