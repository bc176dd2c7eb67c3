"""AWS clients, made for many invocations in one process. Needs botocore."""
