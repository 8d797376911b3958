"""The gevent side: Steam and the Dota 2 Game Coordinator. Nothing else imports gevent."""
