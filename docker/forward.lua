-- Orthanc sends every stable MR and SEG series to qcnode. The results that qcnode sends back are series too: it recognises its own, so this
-- rule needs no exception for them.
local FORWARDED = { MR = true, SEG = true }

function OnStableSeries(seriesId, tags, metadata)
   if not FORWARDED[tags["Modality"]] then
      return
   end
   local body = DumpJson({ Resources = { seriesId }, Synchronous = false }, true)
   RestApiPost("/modalities/qcnode/store", body, true)
end
