"""Alibaba DashScope (Model Studio): pictures by Qwen-Image, Wan and Z-Image. Both faces.

``client`` is what we serve, ``provider`` what we send, ``dialect`` the words both share. Facts from the official SDK
(dashscope 2.0.2, read and captured 2026-11-21) and the API reference at help.aliyun.com, seen 2026-11-21.
"""
