"""`goodsam report`: what a folder of maps says, as one page that opens offline, with a 360-degree viewer of its own."""
