"""fal: hundreds of endpoints, each with its own schema, called at once (fal.run) or through a queue (queue.fal.run).

Knows what ``fal_client`` 1.0.3 and ``@fal-ai/client`` 1.10.1 send and need (read and run 2026-11-21), the types of the
1207 endpoints that ship with the latter, and fal.ai/docs as of that day. ``apps`` knows ids and addresses, ``inputs``
what is asked of an endpoint; ``client`` and ``provider`` are the faces in the registry. Must not wait or fetch.

Both SDKs have https and the host name fixed, so an app is pointed at us in one of these ways:

    Python      FAL_RUN_HOST=muxel:8443/fal/run and FAL_QUEUE_RUN_HOST=muxel:8443/fal/queue, set before the import (the
                SDK puts https:// before them and nothing else, so they may carry a path), and SSL_CERT_FILE for our CA
    JavaScript  fal.config({proxyUrl: {url, when: "always"}}): each call goes to that one URL, and says in the header
                x-fal-target-url where it wanted to go
    either      the names fal.run and queue.fal.run lead to us
"""
