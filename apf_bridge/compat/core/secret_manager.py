"""``apf.core.secret_manager``: secrets kept at AWS."""

from __future__ import annotations

from typing import Any


def get_secret(secret_name: str, key_to_return: str = "SecretString", region_name: str = "us-east-1") -> Any:
    """
    :raises ImportError: boto3 is not installed.
    :raises botocore.exceptions.ClientError: AWS refuses.
    """
    try:
        import boto3
    except ImportError as error:
        raise ImportError("Secrets at AWS need boto3: pip install boto3.") from error
    client = boto3.client(service_name="secretsmanager", region_name=region_name)
    return client.get_secret_value(SecretId=secret_name)[key_to_return]
