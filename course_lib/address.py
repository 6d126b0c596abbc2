"""Where the course is published. `python -m course_lib publish OWNER/REPO --tag TAG` changes it.

Badges, first cells and the README follow from these two lines.
"""

REPOSITORY = "next-token-course/next-token"
TAG = "main"
