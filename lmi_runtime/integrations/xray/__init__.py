"""The AWS X-Ray SDK, with segments that belong to one request."""
