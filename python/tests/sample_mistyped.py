"""What mypy must find wrong: every line that says so, and no other."""

import windtunnel

windtunnel.run("m", ratee=3)  # wrong
windtunnel.run("m", rate="fast")  # wrong
windtunnel.run("m", arrivals="possion")  # wrong
windtunnel.run("m", num_instances=1.5)  # wrong
windtunnel.run("m", results_path=3)  # wrong
windtunnel.run("m", 30)  # wrong
windtunnel.replay()  # wrong
windtunnel.sweep("m")  # wrong
windtunnel.sweep("m", grid=3)  # wrong
windtunnel.plan("m", slo=3)  # wrong
windtunnel.sweep("m", grid={"rate": [1]}, routing_policy=lambda request, cluster: 0)  # wrong
windtunnel.run("m", rate=3)
