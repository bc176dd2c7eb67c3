"""Thread-safe Python runtime for AWS Lambda Managed Instances."""

__version__ = "0.1.0"
