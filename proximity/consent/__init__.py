"""What has somebody agreed to, how is it proven, and how is it taken back?"""
