"""The colcon build of the ROS package; `pip install` uses the pyproject.toml at the top of the repository."""

from setuptools import find_packages, setup

setup(
    name="vipa_sim",
    version="0.1.0",
    packages=find_packages(include=["vipa_sim", "vipa_sim.*"]),
    package_data={"": ["*.yaml", "*.xml"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/vipa_sim"]),
        ("share/vipa_sim", ["package.xml"]),
    ],
    entry_points={
        "console_scripts": [
            "laboratory = vipa_sim.laboratory_node:main",
            "camera = vipa_sim.camera_process:main",
            "policy = vipa_sim.expert_policy:main",
        ],
    },
    zip_safe=False,
)
