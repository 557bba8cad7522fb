"""The VIPA-VLA model: two visual encoders, fusion, language model, flow-matching action head."""
