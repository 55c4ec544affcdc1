-- An error that is no text.
return {
  route = function(req, insts, cluster)
    error(setmetatable({}, {
      __tostring = function()
        return 'never asked'
      end,
    }))
  end,
}
